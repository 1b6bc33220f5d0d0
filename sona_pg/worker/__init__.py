"""What learns and maintains: loops, schedule, rebuild, evaluation."""
