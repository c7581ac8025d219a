package devgateway

// alive cannot be told on this system: there is a new connection instead.
func (c *directConn) alive() bool { return false }
