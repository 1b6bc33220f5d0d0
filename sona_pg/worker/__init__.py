"""Learning and maintenance: loops, schedule, rebuild, evaluation."""
