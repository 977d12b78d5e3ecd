//! Containers: their life, supervision, logs and exit.
