package relay

import "sync"

// shares divide something short, such as memory, between addresses. When it runs out, those who have
// more than a small part of it get nothing more, and everybody else still does.
type shares struct {
	most int

	mu  sync.Mutex
	all int
	of  map[string]int
}

func newShares(most int) *shares { return &shares{most: most, of: make(map[string]int)} }

// take reports whether an address gets so much more; give must follow then.
func (s *shares) take(from string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fits(from, n) {
		return false
	}
	s.all += n
	s.of[from] += n
	return true
}

// fits reports whether there is so much for an address; the caller holds mu.
func (s *shares) fits(from string, n int) bool {
	return s.all+n <= s.most || s.of[from]+n <= s.most/shareOfAll
}

// has reports whether take would give an address so much now, and that all have no more than twice what they may: addresses
// are many.
func (s *shares) has(from string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(from, n) && s.all+n <= 2*s.most
}

// add counts what an address has so much more, or less, whether there is that much or not.
func (s *shares) add(from string, n int) { s.give(from, -n) }

func (s *shares) give(from string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all -= n
	if s.of[from] -= n; s.of[from] == 0 {
		delete(s.of, from)
	}
}

// taken is what all have.
func (s *shares) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
