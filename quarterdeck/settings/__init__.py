"""Configuration: the only reader of environment and files."""

from quarterdeck.settings.load import Configuration, environment_only, load, load_people
from quarterdeck.settings.schema import AgentFile, Profiles, Settings, UsersFile

__all__ = ["AgentFile", "Configuration", "Profiles", "Settings", "UsersFile", "environment_only", "load", "load_people"]
