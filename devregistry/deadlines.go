package devregistry

import (
	"container/heap"
	"time"
)

// deadlines are the checks that change by themselves, the next first. A check's
// place is no later than when it is due: a heartbeat moves its deadline on and
// leaves its place, which is put right when its turn comes.
type deadlines []*check

// never is a due time that does not come.
const never = time.Duration(1<<63 - 1)

// due is when a check next changes by itself.
func (c *check) due() time.Duration {
	next := never
	if c.ttl > 0 && c.status != statusCritical {
		next = c.deadline
	}
	if c.reapAfter > 0 && c.serviceID != "" && c.status == statusCritical {
		next = min(next, c.criticalSince+c.reapAfter)
	}
	if c.target != nil {
		next = min(next, c.nextProbe)
	}
	return next
}

// schedule gives a check its place, and has Run look when it is the first.
func (r *Registry) schedule(c *check) {
	due := c.due()
	switch {
	case due == never:
		return
	case c.position == 0:
		c.at = due
		heap.Push(&r.deadlines, c)
	case due < c.at:
		c.at = due
		heap.Fix(&r.deadlines, c.position-1)
	}
	if c.position == 1 {
		r.lookAgain()
	}
}

func (d *deadlines) remove(c *check) {
	if c.position > 0 {
		heap.Remove(d, c.position-1)
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].position, d[j].position = i+1, j+1
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	c := x.(*check)
	*d = append(*d, c)
	c.position = len(*d)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	c := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	c.position = 0
	return c
}
