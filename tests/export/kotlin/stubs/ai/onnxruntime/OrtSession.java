package ai.onnxruntime;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Plays a codec: a packet is one byte, the quality, and the values. It decodes to a picture of two rows; where the first
 * byte is not 0, the packet is refused, with that byte as its status.
 */
public class OrtSession implements AutoCloseable {
    OrtSession(byte[] model) {}

    public Result run(Map<String, ? extends OnnxTensorLike> inputs) throws OrtException {
        Map<String, OnnxValue> found = new LinkedHashMap<>();
        if (inputs.containsKey("input")) {
            byte[] items = ((OnnxTensor) inputs.get("input")).bytes;
            byte[] packet = new byte[items.length + 1];
            packet[0] = ((OnnxTensor) inputs.get("quality")).bytes[0];
            System.arraycopy(items, 0, packet, 1, items.length);
            found.put("packet", new OnnxTensor(packet, new long[] {packet.length}, OnnxJavaType.UINT8));
        } else {
            byte[] packet = ((OnnxTensor) inputs.get("packet")).bytes;
            byte[] items = new byte[packet.length - 1];
            System.arraycopy(packet, 1, items, 0, items.length);
            long[] shape = {2, items.length / 2, 1};
            byte[] status = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(packet[0]).array();
            found.put("output", new OnnxTensor(items, shape, OnnxJavaType.UINT8));
            found.put("status", new OnnxTensor(status, new long[0], OnnxJavaType.INT64));
        }
        return new Result(found);
    }

    @Override
    public void close() {}

    public static class SessionOptions implements AutoCloseable {
        public void addXnnpack(Map<String, String> options) throws OrtException {}

        @Override
        public void close() {}
    }

    public static class Result implements AutoCloseable {
        private final Map<String, OnnxValue> values;

        Result(Map<String, OnnxValue> values) { this.values = values; }

        public Optional<OnnxValue> get(String name) { return Optional.ofNullable(values.get(name)); }

        public OnnxValue get(int place) { return values.values().toArray(new OnnxValue[0])[place]; }

        @Override
        public void close() { values.values().forEach(OnnxValue::close); }
    }
}
