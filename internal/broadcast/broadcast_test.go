package broadcast

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

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

// TestEachKeepsTheCountUntilItIsTold: a value that nobody is shown takes no count of
// missed ones with it.
func TestEachKeepsTheCountUntilItIsTold(t *testing.T) {
	var topic Topic[int]
	sub := topic.Subscribe(3, nil)
	defer sub.Close()
	for i := range 7 {
		topic.Publish(i)
	}
	var seen []string
	enough := errors.New("enough")
	err := sub.Each(t.Context(), func(v, missed int) (bool, error) {
		if seen = append(seen, fmt.Sprint(v, missed)); v == 2 {
			return true, enough
		}
		return v == 1, nil
	})
	if got := fmt.Sprint(seen); !errors.Is(err, enough) || got != "[0 4 1 4 2 0]" {
		t.Errorf("%s %v", got, err)
	}
}

// TestEachTakesWhatHadCome before its context ended: the last words.
func TestEachTakesWhatHadCome(t *testing.T) {
	for range 20 { // a select between the two is a matter of luck
		var topic Topic[int]
		sub := topic.Subscribe(10, nil)
		for i := range 5 {
			topic.Publish(i)
		}
		ctx, end := context.WithCancel(t.Context())
		end()
		seen := 0
		if err := sub.Each(ctx, func(int, int) (bool, error) { seen++; return true, nil }); err != nil || seen != 5 {
			t.Errorf("%d of 5, %v", seen, err)
		}
		sub.Close()
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

// TestEachEndsWhateverTakeReads: what came before the end is taken once, also where take
// reads ahead. By chance it comes before the end is seen, so that it is tried often.
func TestEachEndsWhateverTakeReads(t *testing.T) {
	for range 100 {
		var topic Topic[int]
		sub := topic.Subscribe(10, nil)
		for i := range 7 {
			topic.Publish(i)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		taken := 0
		err := sub.Each(ctx, func(int, int) (bool, error) {
			for taken++; len(sub.C()) > 2; taken++ {
				<-sub.C()
			}
			return true, nil
		})
		if err != nil || taken != 7 {
			t.Errorf("%d of 7 were taken: %v", taken, err)
		}
		sub.Close()
	}
}
