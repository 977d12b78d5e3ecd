//! Images: names, pull, import, removal, and the embedded image.
