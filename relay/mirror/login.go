package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Relays differ in when they ask who somebody is (NIP-42): some at once, some when they are asked for
// what not everybody may see, and some never say that they have taken the answer. So a question that
// a relay refuses until it knows is asked again then, on the same connection.

// prove answers the relay's question who this is (NIP-42).
func (l *link) prove(challenge string) error {
	if l.asked++; l.sign == nil || l.asked > maxChallenges {
		return nil
	}
	ev := nostr.Event{
		Kind: nostr.KindClientAuthentication, CreatedAt: nostr.Now(),
		Tags: nostr.Tags{{"relay", l.url}, {"challenge", challenge}},
	}
	if err := l.sign(&ev); err != nil {
		return fmt.Errorf("sign for relay: %w", err)
	}
	l.mu.Lock()
	l.logins[ev.ID] = struct{}{}
	l.mu.Unlock()
	return l.send("AUTH", ev)
}

// proved notes that the relay has taken an answer to its question.
func (l *link) proved() {
	select {
	case <-l.loggedIn:
	default:
		close(l.loggedIn)
	}
}

var errNoLogin = errors.New("the relay does not let this node authenticate (NIP-42)")

// awaitLogin waits until the relay knows who this is.
func (l *link) awaitLogin(ctx context.Context) error {
	select {
	case <-l.loggedIn:
		return nil
	case <-l.ended:
		return errLinkEnded
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(loginTime):
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.denied != "" { // it may say by which address it wants to be called
			return fmt.Errorf("%w; there: %.200s", errNoLogin, l.denied)
		}
		return errNoLogin
	}
}

// mustProve reports whether a refusal may be another one when the relay knows who this is.
func (l *link) mustProve(reason string) bool {
	return l.sign != nil && strings.HasPrefix(reason, "auth-required")
}

// askProven asks a question that the relay has refused once more when it knows who this is. false
// means that the refusal stands.
func (l *link) askProven(id, reason string) bool {
	if !l.mustProve(reason) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subs[id]
	if s == nil || s.proven || s.question == nil {
		return false
	}
	s.proven = true
	go func() {
		err := l.awaitLogin(context.Background())
		if err == nil {
			l.mu.Lock()
			question := s.question
			l.mu.Unlock()
			err = l.send(question...)
		}
		if err == nil || errors.Is(err, errLinkEnded) || l.drop(id) == nil || s.end == nil {
			return // the reader tells what waits that the connection has ended
		}
		s.end(&ClosedError{Reason: reason})
	}()
	return true
}
