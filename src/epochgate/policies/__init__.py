"""Policies that come with epochgate: `INFERENCE_POLICY` is the default one."""
