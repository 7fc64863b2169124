"""A name → an encoder: found, loaded, converted, and wrapped."""
