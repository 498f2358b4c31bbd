package oscore

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func benchmarkRequest() message.Message {
	return message.Message{
		Code: codes.POST, Payload: make([]byte, 64),
		Options: message.Options{{ID: message.URIPath, Value: []byte("door")}, {ID: message.URIPath, Value: []byte("unlock")}},
	}
}

// BenchmarkProtect seals a 64-byte payload. The floor, bare, is the AEAD over the same bytes.
func BenchmarkProtect(b *testing.B) {
	m := benchmarkRequest()
	b.Run("bare", func(b *testing.B) {
		c, _ := pair(b, nil)
		sealed, x := mustRequest(b, c, m)
		aead := c.keys().send
		plaintext := make([]byte, len(sealed.Payload)-aead.Overhead())
		buffer := make([]byte, 0, len(sealed.Payload))
		b.ReportAllocs()
		for b.Loop() {
			aead.Seal(buffer, x.nonce[:], plaintext, x.aad[:x.aadSize])
		}
	})
	b.Run("request", func(b *testing.B) {
		c, _ := pair(b, nil)
		var buffer Buffer
		var x Exchange
		b.ReportAllocs()
		for b.Loop() {
			c.next &= MaxEncryptions/2 - 1 // these messages are sent to nobody
			if _, err := c.ProtectRequestIn(&buffer, &x, m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("response", func(b *testing.B) {
		client, server := pair(b, nil)
		request, _ := mustRequest(b, client, m)
		_, x := mustUnprotect(b, server, request)
		response := message.Message{Code: codes.Changed, Payload: make([]byte, 64)}
		var buffer Buffer
		b.ReportAllocs()
		for b.Loop() {
			x.done.Store(none)
			if _, err := server.ProtectResponseIn(&buffer, x, response, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("request allocating", func(b *testing.B) {
		c, _ := pair(b, nil)
		b.ReportAllocs()
		for b.Loop() {
			c.next &= MaxEncryptions/2 - 1
			mustRequest(b, c, m)
		}
	})
}

// BenchmarkUnprotect opens a 64-byte payload. The floor, bare, is the AEAD over the same bytes.
func BenchmarkUnprotect(b *testing.B) {
	m := benchmarkRequest()
	b.Run("bare", func(b *testing.B) {
		client, server := pair(b, nil)
		sealed, x := mustRequest(b, client, m)
		aead := server.keys().receive
		buffer := make([]byte, 0, len(sealed.Payload))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := aead.Open(buffer, x.nonce[:], sealed.Payload, x.aad[:x.aadSize]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("request", func(b *testing.B) {
		client, server := pair(b, nil)
		sealed, _ := mustRequest(b, client, m)
		var buffer Buffer
		var x Exchange
		b.ReportAllocs()
		for b.Loop() {
			server.window = window{} // the same request again and again
			if _, err := server.UnprotectRequestIn(&buffer, &x, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("response", func(b *testing.B) {
		client, server := pair(b, nil)
		request, asked := mustRequest(b, client, m)
		_, x := mustUnprotect(b, server, request)
		sealed, err := server.ProtectResponse(x, message.Message{Code: codes.Changed, Payload: make([]byte, 64)}, false)
		if err != nil {
			b.Fatal(err)
		}
		var buffer Buffer
		b.ReportAllocs()
		for b.Loop() {
			asked.done.Store(none)
			if _, err := client.UnprotectResponseIn(&buffer, asked, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("request allocating", func(b *testing.B) {
		client, server := pair(b, nil)
		sealed, _ := mustRequest(b, client, m)
		b.ReportAllocs()
		for b.Loop() {
			server.window = window{}
			mustUnprotect(b, server, sealed)
		}
	})
}

// BenchmarkColdContext is a request to a context whose key schedules are not there.
func BenchmarkColdContext(b *testing.B) {
	client, server := pair(b, nil)
	sealed, _ := mustRequest(b, client, benchmarkRequest())
	var buffer Buffer
	var x Exchange
	b.ReportAllocs()
	for b.Loop() {
		server.Rest()
		server.window = window{}
		if _, err := server.UnprotectRequestIn(&buffer, &x, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(p, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkContexts finds and unprotects among many. It reports the heap per context in the table, and the longest pause
// of the garbage collector while requests are served.
func BenchmarkContexts(b *testing.B) {
	for _, size := range []int{1e3, 1e6} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchmarkContexts(b, size) })
	}
}

func benchmarkContexts(b *testing.B, size int) {
	before := heap()
	table := &Contexts{}
	schedules := NewSchedules(1024)
	for i := range size {
		p := Params{MasterSecret: testSecret, SenderID: []byte("as"), RecipientID: kidOf(i)}
		if err := table.Add(newContext(b, p, Options{Schedules: schedules})); err != nil {
			b.Fatal(err)
		}
	}
	perContext := float64(heap()-before) / float64(size)
	var requests [256]message.Message
	for i := range requests {
		p := Params{MasterSecret: testSecret, SenderID: kidOf(i * (size / len(requests))), RecipientID: []byte("as")}
		requests[i], _ = mustRequest(b, newContext(b, p, Options{}), benchmarkRequest())
	}
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			kid := requests[i%len(requests)].Options[0].Value[2:]
			if _, ok := table.Find(kid, nil, false); !ok {
				b.Fatal("not found")
			}
		}
	})
	b.Run("unprotect", func(b *testing.B) {
		var buffer Buffer
		var x Exchange
		pauses := gcPauses()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if i%(1<<18) == 0 {
				go runtime.GC()
			}
			if _, err := table.UnprotectRequestIn(&buffer, &x, requests[i%len(requests)]); err != nil {
				b.Fatal(err)
			}
			x.Context().window = window{}
		}
		b.ReportMetric(perContext, "B/context")
		b.ReportMetric(1e3*longest(pauses, gcPauses()), "ms-longest-gc-pause")
	})
	runtime.KeepAlive(table)
}

func kidOf(i int) []byte { return []byte{byte(i >> 16), byte(i >> 8), byte(i)} }

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func gcPauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// longest is the upper end of the longest pause since before, in seconds.
func longest(before, after *metrics.Float64Histogram) float64 {
	for i := len(after.Counts) - 1; i >= 0; i-- {
		if after.Counts[i] > before.Counts[i] {
			return after.Buckets[i+1]
		}
	}
	return 0
}
