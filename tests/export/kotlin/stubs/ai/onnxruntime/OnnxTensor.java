package ai.onnxruntime;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Bytes with a shape; as in ONNX Runtime, a tensor that is closed has neither. */
public class OnnxTensor extends OnnxTensorLike {
    final byte[] bytes;
    final long[] shape;
    final OnnxJavaType type;

    OnnxTensor(byte[] bytes, long[] shape, OnnxJavaType type) {
        this.bytes = bytes;
        this.shape = shape;
        this.type = type;
    }

    public static OnnxTensor createTensor(OrtEnvironment environment, ByteBuffer data, long[] shape, OnnxJavaType type)
            throws OrtException {
        byte[] bytes = new byte[data.remaining()];
        data.duplicate().get(bytes);
        return new OnnxTensor(bytes, shape, type);
    }

    private void check() {
        if (!open) throw new IllegalStateException("closed");
    }

    @Override
    public Object getValue() throws OrtException {
        check();
        if (shape.length > 0) throw new IllegalStateException("not a scalar");
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
    }

    public ByteBuffer getByteBuffer() {
        check();
        return ByteBuffer.wrap(bytes.clone()).order(ByteOrder.nativeOrder());
    }

    @Override
    public TensorInfo getInfo() {
        check();
        return new TensorInfo(shape);
    }
}
