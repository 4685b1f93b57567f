package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// errNoOK is what becomes of an event to which a relay says nothing while it goes on answering: some
// complain of an event in a NOTICE only, some not at all.
var errNoOK = errors.New("the relay does not say OK")

func (l *link) answered(id string, ok bool, text string) {
	var err error
	if !ok && !strings.HasPrefix(text, "duplicate:") {
		err = &RefusedError{text}
	}
	l.lastOK.Store(time.Now().UnixNano())
	l.answers.Add(1)
	l.mu.Lock()
	waiting := l.oks[id]
	delete(l.oks, id)
	_, login := l.logins[id]
	if login && !ok {
		l.denied = text
	}
	l.mu.Unlock()
	if login && ok {
		l.shownAll.Store(text == relay.ShownAll)
		l.proved()
	}
	for _, answer := range waiting {
		answer <- err // buffered
	}
}

// publish sends an event and waits for the relay's OK. A *RefusedError is its OK false.
func (l *link) publish(ctx context.Context, ev *nostr.Event) error {
	return l.publishAll(ctx, ev)[0]
}

// publishAll sends events in their order and waits for the relay's OKs, for okTime for the first of
// them and for okGap after the last. What it refuses until it knows who this is, is sent again then.
func (l *link) publishAll(ctx context.Context, evs ...*nostr.Event) []error {
	errs := l.publishOnce(ctx, evs)
	var again []*nostr.Event
	var places []int
	for i, err := range errs {
		if refused := (*RefusedError)(nil); errors.As(err, &refused) && l.mustProve(refused.Reason) {
			again, places = append(again, evs[i]), append(places, i)
		}
	}
	if len(again) == 0 || l.awaitLogin(ctx) != nil {
		return errs
	}
	for i, err := range l.publishOnce(ctx, again) {
		errs[places[i]] = err
	}
	return errs
}

func (l *link) publishOnce(ctx context.Context, evs []*nostr.Event) []error {
	errs := make([]error, len(evs))
	answers := make([]chan error, len(evs))
	l.mu.Lock()
	for i, ev := range evs {
		answers[i] = make(chan error, 1)
		l.oks[ev.ID] = append(l.oks[ev.ID], answers[i])
	}
	l.mu.Unlock()
	began, answered, notices := time.Now(), l.answers.Load(), l.notices.Load()
	for i, ev := range evs {
		errs[i] = l.sendEvent(ev)
	}
	for i, ev := range evs {
		if errs[i] == nil {
			errs[i] = l.awaitOK(ctx, answers[i], began, func() bool { return len(evs) > 1 && l.answers.Load() > answered })
		}
		l.mu.Lock()
		l.oks[ev.ID] = slices.DeleteFunc(l.oks[ev.ID], func(other chan error) bool { return other == answers[i] })
		if len(l.oks[ev.ID]) == 0 {
			delete(l.oks, ev.ID)
		}
		l.mu.Unlock()
	}
	// A relay that has said nothing at all is not one that will not have an event.
	if l.answers.Load() == answered && l.notices.Load() == notices {
		for i := range errs {
			if errors.Is(errs[i], errNoOK) {
				errs[i] = errNoAnswer
			}
		}
	}
	return errs
}

// sendEvent sends an event, unless it is larger than the relay takes: some end the connection then.
func (l *link) sendEvent(ev *nostr.Event) error {
	frame, err := json.Marshal([]any{"EVENT", ev})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if most := l.largest.Load(); most > 0 && int64(len(frame)) > most {
		return &RefusedError{fmt.Sprintf("invalid: the relay takes messages of at most %d bytes", most)}
	}
	return l.sendFrame(frame)
}

// awaitOK waits for the relay's word about one event that was sent since began; others tells when it has
// begun to speak of those that were sent with it.
func (l *link) awaitOK(ctx context.Context, answer <-chan error, began time.Time, others func() bool) error {
	for {
		wait := okTime - time.Since(began)
		if others() {
			wait = min(okGap-time.Since(time.Unix(0, l.lastOK.Load())), okMost-time.Since(began))
		}
		select {
		case err := <-answer:
			return err
		default:
		}
		if wait <= 0 {
			return errNoOK
		}
		select {
		case err := <-answer:
			return err
		case <-l.ended:
			return errLinkEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
