"""Settings that every test shares. No timing decides a test, so Hypothesis has no deadline either."""

from hypothesis import HealthCheck, settings

settings.register_profile("torana", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("torana")
