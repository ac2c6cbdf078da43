// A client or a server on Go's own TLS and HTTP.
//
//	peer serve CERTIFICATE KEY    prints its port; answers each request with its body's length
//	peer ask AUTHORITY http/1.1|h2    reads lines "METHOD URL TOKEN BODY-LENGTH" from standard
//	                                  input; prints "STATUS LENGTH LOCAL-PORT" for each
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(certificate, key string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	handler := func(answer http.ResponseWriter, request *http.Request) {
		length, err := io.Copy(io.Discard, request.Body)
		check(err)
		fmt.Fprintf(answer, "%d", length)
	}
	check(http.ServeTLS(listener, http.HandlerFunc(handler), certificate, key))
}

func ask(authority, protocol string) {
	pem, err := os.ReadFile(authority)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "localhost"},
		ForceAttemptHTTP2: protocol == "h2",
	}}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<16)
	for lines.Scan() {
		var method, url, token string
		var length int
		_, err := fmt.Sscan(lines.Text(), &method, &url, &token, &length)
		check(err)
		request, err := http.NewRequest(method, url, strings.NewReader(strings.Repeat("b", length)))
		check(err)
		request.Header.Set("Authorization", "Bearer "+token)
		port := 0
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			port = info.Conn.LocalAddr().(*net.TCPAddr).Port
		}}
		answer, err := client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
		check(err)
		read, err := io.Copy(io.Discard, answer.Body)
		check(err)
		fmt.Println(answer.StatusCode, read, port, answer.Proto)
	}
}

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3])
	} else {
		ask(os.Args[2], os.Args[3])
	}
}
