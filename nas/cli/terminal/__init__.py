"""Terminal: text that is only text, tables that fit, a bar; what every command prints through."""
