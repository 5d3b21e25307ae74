"""Files of requests, answered one by one: resumable, rate-aware, nothing lost and nothing done twice."""
