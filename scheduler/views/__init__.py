"""What people see: messages, tables, the live display."""
