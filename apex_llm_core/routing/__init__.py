"""From a request to an answer: router, selector, fallback handler, load balancer, and the pipeline that joins them."""
