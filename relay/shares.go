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
	if s.all+n > s.most && s.of[from]+n > s.most/shareOfAll {
		return false
	}
	s.all += n
	s.of[from] += n
	return true
}

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
