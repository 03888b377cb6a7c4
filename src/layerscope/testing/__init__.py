"""For those who extend layerscope: laws that a new statistic has to obey."""
