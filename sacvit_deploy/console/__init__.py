"""What every command uses to talk to people: progress lines, text tables, charts."""
