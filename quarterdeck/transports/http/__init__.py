"""HTTP: JSON bodies and server-sent events over the desk."""
