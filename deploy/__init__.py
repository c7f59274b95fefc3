"""The whole topology as processes of one machine, and what containers of it are made from."""
