package lnd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for host, want := range map[string]string{
		"https://127.0.0.1:10009":  "127.0.0.1:10009",
		"https://127.0.0.1:10009/": "127.0.0.1:10009",
		"127.0.0.1:10009":          "127.0.0.1:10009",
		"https://[::1]:10009":      "[::1]:10009",
		"lnd.example.com:443":      "lnd.example.com:443",
		"":                         "",
		"https://":                 "",
		"localhost":                "",
		"https://localhost":        "",
		":10009":                   "",
		"localhost:":               "",
		"http://localhost:10009":   "",
		"localhost:10009/path":     "",
	} {
		got, err := parseHost(host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("parseHost(%q) = %q, %v; want %q", host, got, err, want)
		}
	}
}

// TestConnectErrors: an error about a file names it and says what to do.
func TestConnectErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Any certificate will do: nothing is dialed before the first call.
	cert := write("tls.cert", []byte(certificate), 0o600)
	mac := write("mostro.macaroon", newMacaroon(t, []string{"uri:/lnrpc.Lightning/GetInfo"}), 0o600)
	text := write("hex.macaroon", []byte("0201036c6e64"), 0o600)
	missing := filepath.Join(dir, "missing")
	good := Config{Host: "https://127.0.0.1:10009", CertFile: cert, MacaroonFile: mac}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"good":                {good, nil},
		"bad host":            {Config{"localhost", cert, mac}, []string{`"localhost"`, "https://host:port"}},
		"no certificate":      {Config{good.Host, missing, mac}, []string{missing, "tls.cert", "lnd_cert_file"}},
		"certificate unnamed": {Config{good.Host, "", mac}, []string{"no file is named", "lnd_cert_file"}},
		"not a certificate":   {Config{good.Host, mac, mac}, []string{mac, "PEM", "copy lnd's tls.cert again"}},
		"no macaroon":         {Config{good.Host, cert, missing}, []string{missing, "lncli bakemacaroon", "lnd_macaroon_file"}},
		"macaroon unnamed":    {Config{good.Host, cert, ""}, []string{"no file is named", "lnd_macaroon_file"}},
		"a macaroon in hex":   {Config{good.Host, cert, text}, []string{text, "not a binary macaroon", "--save_to"}},
	} {
		node, err := Dial(test.config)
		if (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil {
			node.Close()
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want it to say %q", name, err, want)
			}
		}
	}
}

// certificate is one that nobody has the key of.
const certificate = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUf87hEa8f/o/viL5CeWNfRAFoysEwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjMxNDIwMjRaGA8yMTI2MTAzMDE0MjAy
NFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABA0C
8sAqMR0UE8Nmb4FohLl+clqsFUC/sOBU/wvkFtjM5IM1/H71j3vKYxvcKcO/PECH
ueEgiivGvjOdUoxqukyjUzBRMB0GA1UdDgQWBBSGqSPUf11pOqWH4kL1WENMC4ct
wTAfBgNVHSMEGDAWgBSGqSPUf11pOqWH4kL1WENMC4ctwTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQCXWv4zgwEEL+kLIBEp1Ij5AIkPd3Mr8ZoW
mNz2vGZUIgIgdxd5aw5PS4DTfrJZoS1sHqTHXOMOeJO/Y+Pf/5T8h9w=
-----END CERTIFICATE-----
`
