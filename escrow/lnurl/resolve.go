package lnurl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

const maxReason = 200 // bytes of a server's explanation that go into an error

// failure is how a server says no (LUD-06).
type failure struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
}

func (f failure) err() error {
	if f.Status != "ERROR" {
		return nil
	}
	return fmt.Errorf("%w: %q", ErrRefusedByPayee, f.Reason[:min(len(f.Reason), maxReason)])
}

// payParams is the first answer of a payee's server. Amounts are in msat.
type payParams struct {
	failure
	Tag            string `json:"tag"`
	Callback       string `json:"callback"`
	MinSendable    int64  `json:"minSendable"`
	MaxSendable    int64  `json:"maxSendable"`
	CommentAllowed int    `json:"commentAllowed"` // characters (LUD-12)
}

// Resolve asks the payee's server for an invoice over exactly this amount. The comment goes
// along, cut to its length, where the server takes comments. Every call may give another
// invoice with another payment hash: the caller stores the one it pays before it pays.
//
// Errors are ErrUnsafe, ErrRefusedByPayee, or temporary. They may quote the server.
func (c *Client) Resolve(ctx context.Context, target Target, amount order.Msat, comment string) (bolt11 string, err error) {
	if bolt11, err = c.resolve(ctx, target, amount, comment); err != nil {
		return "", fmt.Errorf("resolve %s: %w", target, err)
	}
	return bolt11, nil
}

func (c *Client) resolve(ctx context.Context, target Target, amount order.Msat, comment string) (string, error) {
	if amount <= 0 {
		return "", fmt.Errorf("amount %d msat", amount)
	}
	first, err := c.check(target.url) // another client may have made the target
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	var params payParams
	if err := c.getJSON(ctx, first, &params); err != nil {
		return "", err
	}
	if err := params.check(amount); err != nil {
		return "", err
	}
	callback, err := c.check(params.Callback)
	if err != nil {
		return "", fmt.Errorf("%w: callback: %w", ErrUnsafe, err)
	}
	var answer struct {
		failure
		Invoice string `json:"pr"`
	}
	if err := c.getJSON(ctx, params.ask(callback, amount, comment), &answer); err != nil {
		return "", err
	}
	if err := answer.err(); err != nil {
		return "", err
	}
	invoice, err := lightning.Decode(answer.Invoice)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRefusedByPayee, err)
	}
	if invoice.Amount != amount {
		return "", fmt.Errorf("%w: asked for an invoice over %d msat, got one over %d", ErrRefusedByPayee, amount, invoice.Amount)
	}
	return invoice.Text, nil
}

func (p payParams) check(amount order.Msat) error {
	if err := p.err(); err != nil {
		return err
	}
	switch {
	case p.Tag != "payRequest":
		return fmt.Errorf("%w: the tag is %.32q, not payRequest", ErrRefusedByPayee, p.Tag)
	case p.MinSendable < 1 || p.MinSendable > p.MaxSendable:
		return fmt.Errorf("%w: it takes from %d to %d msat, which is no range", ErrRefusedByPayee, p.MinSendable, p.MaxSendable)
	case int64(amount) < p.MinSendable || int64(amount) > p.MaxSendable:
		return fmt.Errorf("%w: it takes from %d to %d msat, not %d", ErrRefusedByPayee, p.MinSendable, p.MaxSendable, amount)
	}
	return nil
}

// ask adds what is asked for to the callback, whose own query stays as it is.
func (p payParams) ask(callback *url.URL, amount order.Msat, comment string) *url.URL {
	asked := *callback
	if asked.RawQuery != "" {
		asked.RawQuery += "&"
	}
	asked.RawQuery += "amount=" + strconv.FormatInt(int64(amount), 10)
	if runes := []rune(comment); len(runes) > 0 && p.CommentAllowed > 0 {
		asked.RawQuery += "&comment=" + url.QueryEscape(string(runes[:min(len(runes), p.CommentAllowed)]))
	}
	return &asked
}

func (c *Client) getJSON(ctx context.Context, u *url.URL, into any) error {
	body, err := c.get(ctx, u)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		var position *json.SyntaxError
		if errors.As(err, &position) {
			return fmt.Errorf("%w: %s answers with something else than JSON", ErrRefusedByPayee, u.Host)
		}
		// The error would quote a number as long as the server has made it.
		if field := (*json.UnmarshalTypeError)(nil); errors.As(err, &field) {
			return fmt.Errorf("%w: %s answers with a %s that is no %s", ErrRefusedByPayee, u.Host, field.Field, field.Type)
		}
		return fmt.Errorf("%w: %w", ErrRefusedByPayee, err)
	}
	return nil
}
