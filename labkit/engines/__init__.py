"""Who answers requests: Ray Data LLM, a warm engine, a server; one interface."""
