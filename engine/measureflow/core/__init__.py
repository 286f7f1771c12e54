"""Values: domains, measures, features, noise, schedules."""
