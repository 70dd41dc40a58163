// hls::stream as the lint reads it: what a unit may call, without bodies.
#ifndef FPGAFLOW_LINT_HLS_STREAM_H
#define FPGAFLOW_LINT_HLS_STREAM_H

namespace hls {

template <class T>
class stream {
public:
    stream();
    explicit stream(const char* name);
    T read();
    void read(T& word);
    bool read_nb(T& word);
    void write(const T& word);
    bool write_nb(const T& word);
    bool empty() const;
    bool full() const;
    unsigned size() const;
};

}  // namespace hls

#endif
