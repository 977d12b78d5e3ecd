//! One small process per container: its parent, its log writer, its recorder.
