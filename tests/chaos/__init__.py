"""Crash tests: workers are killed at random moments, an outside world that never dies keeps count, a checker compares."""
