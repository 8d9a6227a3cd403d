"""Output for people, shared by all commands: progress lines, text tables, charts."""
