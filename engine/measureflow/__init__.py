"""measureflow: gradient flows of measures with particles."""
