package mostro

import (
	"fmt"
	"testing"
)

// BenchmarkSeal and BenchmarkOpen work with one counterpart, whose conversation key is in
// the cache, and with a new one each time.
func BenchmarkSeal(b *testing.B) {
	for _, transport := range []Transport{GiftWrap, NIP44} {
		o := testOutgoing(b, transport, mustSecret(b, 10))
		b.Run(fmt.Sprintf("v%d", transport), func(b *testing.B) {
			s := NewSealer(mustSecret(b, 9))
			for b.Loop() {
				if _, err := s.Seal(o); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("v%d/new", transport), func(b *testing.B) {
			for b.Loop() {
				if _, err := NewSealer(mustSecret(b, 9)).Seal(o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	keys, node := testKeys(b), mustSecret(b, 9)
	msg := Message{Wrapper: WrapOrder, Version: 2, RequestID: ptr(uint64(7)), ID: testID, Action: TakeBuy}
	for name, from := range map[string]Party{"reputation": {keys[1], keys[0]}, "private": {keys[1], keys[1]}} {
		for _, transport := range []Transport{GiftWrap, NIP44} {
			ev, err := SealRequest(msg, transport, from, node.Public(), testTime, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("v%d/%s", transport, name), func(b *testing.B) {
				o := NewOpener(node)
				for b.Loop() {
					if _, err := o.Open(&ev); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	raw := []byte(loadVectors(b).Messages[0].Message)
	for b.Loop() {
		if _, err := DecodeMessage(raw); err != nil {
			b.Fatal(err)
		}
	}
}
