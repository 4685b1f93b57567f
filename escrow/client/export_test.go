package client

// Unanswered counts the events that the relay has not answered yet.
func Unanswered(c *Client) int {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return len(c.link.sent)
}
