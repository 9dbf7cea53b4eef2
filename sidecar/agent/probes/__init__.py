"""The application's probes, which injection redirects to the agent."""
