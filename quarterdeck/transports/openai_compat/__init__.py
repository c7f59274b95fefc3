"""OpenAI's chat completions and responses over the desk: clients made for them talk to any agent."""
