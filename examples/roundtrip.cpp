// A picture to a packet and back with ONNX Runtime's C++ interface and nothing else.
//
//     g++ -std=c++17 -I<headers> roundtrip.cpp -L<libraries> -lonnxruntime -o roundtrip
//     ./roundtrip encoder.int8.onnx decoder.fp32.onnx
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <vector>

int main(int, char **paths) {
    Ort::Env env;
    Ort::Session encoder(env, paths[1], Ort::SessionOptions{}), decoder(env, paths[2], Ort::SessionOptions{});
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);

    const int64_t height = 256, width = 384, shape[] = {height, width, 3}; // any [height, width, 1 or 3]
    std::vector<uint8_t> picture;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t value : {x * 2 / 3, y, (x + y) / 3}) picture.push_back(static_cast<uint8_t>(value));

    uint8_t quality = 128;
    Ort::Value feed[] = {
        Ort::Value::CreateTensor<uint8_t>(memory, picture.data(), picture.size(), shape, 3),
        Ort::Value::CreateTensor<uint8_t>(memory, &quality, 1, nullptr, 0),
    };
    const char *inputs[] = {"input", "quality"}, *packets[] = {"packet"}, *outputs[] = {"output", "status"};
    auto packet = encoder.Run(Ort::RunOptions{}, inputs, feed, 2, packets, 1);
    const char *bytes = reinterpret_cast<const char *>(packet[0].GetTensorData<uint8_t>());
    const size_t length = packet[0].GetTensorTypeAndShapeInfo().GetElementCount();
    std::ofstream("picture.lw", std::ios::binary).write(bytes, static_cast<std::streamsize>(length)); // send these

    auto restored = decoder.Run(Ort::RunOptions{}, packets, packet.data(), 1, outputs, 2);
    if (int64_t status = *restored[1].GetTensorData<int64_t>(); status != 0) {
        std::fprintf(stderr, "not a packet of this codec, or damaged: status %d\n", static_cast<int>(status));
        return 1;
    }
    const uint8_t *output = restored[0].GetTensorData<uint8_t>();
    double error = 0;
    for (size_t at = 0; at < picture.size(); at++) error += (output[at] - picture[at]) * (output[at] - picture[at]);
    std::printf("%zu bytes, packet %zu bytes, mean squared error %.2f\n", picture.size(), length, error / picture.size());
}
