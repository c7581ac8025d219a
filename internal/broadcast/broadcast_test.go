package broadcast

import "testing"

func TestSlowSubscriberMissesAndIsTold(t *testing.T) {
	var topic Topic[int]
	slow, fast := topic.Subscribe(2, nil), topic.Subscribe(10, nil)
	defer slow.Close()
	for i := range 5 {
		topic.Publish(i)
	}
	if got := len(fast.C()); got != 5 {
		t.Errorf("fast got %d of 5", got)
	}
	if got := slow.Missed(); got != 3 {
		t.Errorf("slow missed %d, want 3", got)
	}
	if got := slow.Missed(); got != 0 {
		t.Errorf("counted twice: %d", got)
	}
	fast.Close()
	topic.Publish(9)
	if got := len(fast.C()); got != 5 {
		t.Errorf("a closed subscription got a value")
	}
}

func TestSnapshotThenStreamHasNoGap(t *testing.T) {
	var topic Topic[int]
	state, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			topic.Update(func() (int, bool) { state++; return state, true })
		}
	}()
	for range 50 {
		var seen int
		sub := topic.Subscribe(1000, func() { seen = state })
		select {
		case next := <-sub.C():
			if next != seen+1 {
				t.Fatalf("snapshot %d, then %d", seen, next)
			}
		case <-done:
		}
		sub.Close()
	}
	<-done
}
