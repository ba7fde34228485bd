package ai.onnxruntime;

public abstract class OnnxTensorLike implements OnnxValue {
    protected boolean open = true;

    @Override
    public abstract TensorInfo getInfo();

    @Override
    public void close() { open = false; }
}
