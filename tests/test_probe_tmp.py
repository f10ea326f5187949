import numpy as np, time
def test_x(ideal):
    t=ideal; b=t.bench
    W=t.write('slm_1', np.linspace(-1,1,220).reshape(10,22))
    x=np.zeros((3,22)); x[0,0]=1; x[1,:]=.5; x[2,3]=1
    s=t.stack('dmd_input',x)
    t0=time.time()
    f=t.fields('camera_z1',['pump'],{'dmd_input':s})
    print(time.time()-t0)
    pf=t.sources['dmd_input'].full_field(110e-6)
    exp=(t.sent('dmd_input',x)*pf)@W.T
    print(np.abs(f-exp).max(), np.abs(exp).max())
    for _ in range(2):
        print(t.counts('camera_z1',['pump','reference'],{'dmd_input':s})[0])
    # halt after plain
    from labctl.devices import *
    full=Pattern(np.ones((256,196),np.uint16), identity_codebook(1))
    d=b.dmd('dmd_input'); b.beam('pump').on(); b.beam('reference').off(); d.show(full)
    print('full', b.camera('camera_z1').acquire(1).counts)
    d.halt(); print('halt', b.camera('camera_z1').acquire(1).counts)
    d=b.dmd('dmd_hidden'); b.beam('pump_hidden').on(); d.show(full); 
    print('full', b.camera('camera_hidden_1').acquire(1).counts)
    try:
        d.halt(); print('halt', b.camera('camera_hidden_1').acquire(1).counts)
    except Exception as e: print('ERR',repr(e))
