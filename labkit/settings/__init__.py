"""Every argument of Ray and vLLM, with the reason for its value."""
