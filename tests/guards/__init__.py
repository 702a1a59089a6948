"""Rules of the whole code, each with a planted violation that proves it can fail."""
