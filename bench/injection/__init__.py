"""Attacks through text: what they achieve against the real runtime when the model obeys every one of them."""
