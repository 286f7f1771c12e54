"""The schedules in the box, one a file; a plain number is the constant one."""
