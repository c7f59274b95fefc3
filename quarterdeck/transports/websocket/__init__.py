"""WebSocket: questions, their events and commands to runs, both ways over one connection."""
