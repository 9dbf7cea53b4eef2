"""The application's probes, which injection sent to the agent."""
