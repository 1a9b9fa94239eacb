"""Published cells, typed from the papers as text cells: what users of the field write.

`tests/verify/test_zoo.py` holds all of them against the equations; the title says which of several forms one is.
"""

ZOO = """
name: mgu
title: Minimal gated unit
year: 2016
reference: Zhou, Wu, Zhang, Zhou, arXiv 1603.09420
states: h
parameters: W_f[H,N] W_n[H,N] U_f[H,H] U_n[H,H] b_f b_n
f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
fh = f * h_prev
n = tanh(W_n @ x + U_n @ fh + b_n)
h = (1 - f) * h_prev + f * n

name: ugrnn
title: Update gate RNN
year: 2016
reference: Collins, Sohl-Dickstein, Sussillo, arXiv 1611.09913
states: h
parameters: W_g[H,N] W_n[H,N] U_g[H,H] U_n[H,H] b_g b_n
g = sigmoid(W_g @ x + U_g @ h_prev + b_g)
n = tanh(W_n @ x + U_n @ h_prev + b_n)
h = g * h_prev + (1 - g) * n

name: intersection
title: Intersection RNN
year: 2016
reference: Collins, Sohl-Dickstein, Sussillo, arXiv 1611.09913
states: y[N] h
parameters: W_a[N,N] U_a[N,H] b_a[N] W_b[H,N] U_b[H,H] b_b W_c[N,N] U_c[N,H] b_c[N] W_d[H,N] U_d[H,H] b_d
outputs: y
yin = relu(W_a @ x + U_a @ h_prev + b_a)
hin = tanh(W_b @ x + U_b @ h_prev + b_b)
gy = sigmoid(W_c @ x + U_c @ h_prev + b_c)
gh = sigmoid(W_d @ x + U_d @ h_prev + b_d)
y = gy * x + (1 - gy) * yin
h = gh * h_prev + (1 - gh) * hin

name: indrnn
title: Independently recurrent network
year: 2018
reference: Li et al., arXiv 1803.04831
states: h
parameters: W[H,N] u b
h = relu(W @ x + u * h_prev + b)

name: sru2
title: Simple recurrent unit
year: 2018
reference: Lei et al., arXiv 1709.02755
states: h c
parameters: W[H,N] W_f[H,N] W_r[H,N] W_s[H,N] v_f v_r b_f b_r
outputs: h
n = W @ x
f = sigmoid(W_f @ x + v_f * c_prev + b_f)
r = sigmoid(W_r @ x + v_r * c_prev + b_r)
c = f * c_prev + (1 - f) * n
h = r * c + (1 - r) * (W_s @ x)

name: qrnn2
title: Quasi-recurrent network, window 2
year: 2016
reference: Bradbury et al., arXiv 1611.01576
states: h c p[N]
parameters: W_z[H,N] V_z[H,N] W_f[H,N] V_f[H,N] W_o[H,N] V_o[H,N] b_z b_f b_o
outputs: h
p = x
z = tanh(W_z @ x + V_z @ p_prev + b_z)
f = sigmoid(W_f @ x + V_f @ p_prev + b_f)
o = sigmoid(W_o @ x + V_o @ p_prev + b_o)
c = f * c_prev + (1 - f) * z
h = o * c

name: ligru
title: Li-GRU without batch normalisation
year: 2018
reference: Ravanelli et al., arXiv 1803.10225
states: h
parameters: W_z[H,N] W_n[H,N] U_z[H,H] U_n[H,H] b_z b_n
z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
n = relu(W_n @ x + U_n @ h_prev + b_n)
h = z * h_prev + (1 - z) * n

name: fastrnn
title: FastRNN
year: 2018
reference: Kusupati et al., arXiv 1901.02358
states: h
parameters: W[H,N] U[H,H] b alpha[1] beta[1]
n = tanh(W @ x + U @ h_prev + b)
h = sigmoid(alpha) * n + sigmoid(beta) * h_prev

name: fastgrnn_low
title: FastGRNN of low rank
year: 2018
reference: Kusupati et al., arXiv 1901.02358
states: h
parameters: W1[R,N] W2[H,R] U1[S,H] U2[H,S] b_z b_n zeta[1] nu[1]
w = W1 @ x
u = U1 @ h_prev
a = W2 @ w + U2 @ u
z = sigmoid(a + b_z)
n = tanh(a + b_n)
h = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * n + z * h_prev

name: mut1
title: MUT1
year: 2015
reference: Jozefowicz, Zaremba, Sutskever, ICML 2015
states: h
parameters: W_z[H,N] W_r[H,N] U_r[H,H] U_h[H,H] b_z b_r b_h P[H,N]
z = sigmoid(W_z @ x + b_z)
r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
rh = r * h_prev
h = tanh(U_h @ rh + tanh(P @ x) + b_h) * z + h_prev * (1 - z)

name: mut2
title: MUT2, the input as wide as the state
year: 2015
reference: Jozefowicz, Zaremba, Sutskever, ICML 2015
states: h
inputs: x[H]
parameters: W_z[H,H] U_z[H,H] b_z U_r[H,H] b_r U_h[H,H] W_h[H,H] b_h
z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
r = sigmoid(x + U_r @ h_prev + b_r)
rh = r * h_prev
h = tanh(U_h @ rh + W_h @ x + b_h) * z + h_prev * (1 - z)

name: scrn
title: Structurally constrained network
year: 2014
reference: Mikolov et al., arXiv 1412.7753
states: h s[M]
parameters: B[M,N] P[H,M] A[H,N] R[H,H]
constants: alpha[1]
outputs: h s
initial: alpha=0.95
s = (1 - alpha) * (B @ x) + alpha * s_prev
h = sigmoid(P @ s + A @ x + R @ h_prev)

name: janet
title: JANET
year: 2018
reference: van der Westhuizen, Lasenby, arXiv 1804.04849
states: c
parameters: W_f[H,N] U_f[H,H] b_f W_c[H,N] U_c[H,H] b_c
s = W_f @ x + U_f @ c_prev + b_f
c = sigmoid(s) * c_prev + (1 - sigmoid(s - 1)) * tanh(W_c @ x + U_c @ c_prev + b_c)

name: fgr
title: LSTM with full gate recurrence
year: 2015
reference: Greff et al., arXiv 1503.04069
states: h c i f o
parameters: W_i[H,N] W_f[H,N] W_g[H,N] W_o[H,N] U_i[H,H] U_f[H,H] U_g[H,H] U_o[H,H] b_i b_f b_g b_o p_i p_f p_o
  R_ii[H,H] R_fi[H,H] R_oi[H,H] R_if[H,H] R_ff[H,H] R_of[H,H] R_io[H,H] R_fo[H,H] R_oo[H,H]
outputs: h
i = sigmoid(W_i @ x + U_i @ h_prev + p_i * c_prev + R_ii @ i_prev + R_fi @ f_prev + R_oi @ o_prev + b_i)
f = sigmoid(W_f @ x + U_f @ h_prev + p_f * c_prev + R_if @ i_prev + R_ff @ f_prev + R_of @ o_prev + b_f)
g = tanh(W_g @ x + U_g @ h_prev + b_g)
c = f * c_prev + i * g
o = sigmoid(W_o @ x + U_o @ h_prev + p_o * c + R_io @ i_prev + R_fo @ f_prev + R_oo @ o_prev + b_o)
h = o * tanh(c)

name: niaf_nog
title: LSTM without input activation and output gate
year: 2015
reference: Greff et al., arXiv 1503.04069
states: h c
parameters: W_i[H,N] W_f[H,N] W_g[H,N] U_i[H,H] U_f[H,H] U_g[H,H] b_i b_f b_g
outputs: h
i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
c = f * c_prev + i * (W_g @ x + U_g @ h_prev + b_g)
h = tanh(c)

name: lstmp_both
title: LSTM with both projections
year: 2014
reference: Sak, Senior, Beaufays, arXiv 1402.1128
states: r[P] q[Q] c
parameters: W_i[H,N] W_f[H,N] W_g[H,N] W_o[H,N] U_i[H,P] U_f[H,P] U_g[H,P] U_o[H,P] b_i b_f b_g b_o p_i p_f p_o
    W_r[P,H] W_q[Q,H]
outputs: r q
i = sigmoid(W_i @ x + U_i @ r_prev + p_i * c_prev + b_i)
f = sigmoid(W_f @ x + U_f @ r_prev + p_f * c_prev + b_f)
g = tanh(W_g @ x + U_g @ r_prev + b_g)
c = f * c_prev + i * g
o = sigmoid(W_o @ x + U_o @ r_prev + p_o * c + b_o)
m = o * tanh(c)
r = W_r @ m
q = W_q @ m

name: mrnn
title: Multiplicative RNN
year: 2011
reference: Sutskever, Martens, Hinton, ICML 2011
states: h
parameters: W_fx[F,N] W_fh[F,H] W_hf[H,F] W_hx[H,N] b
f = (W_fx @ x) * (W_fh @ h_prev)
h = tanh(W_hf @ f + W_hx @ x + b)

name: nas
title: NAS cell
year: 2016
reference: Zoph, Le, arXiv 1611.01578
states: h c
parameters: W1[H,N] W2[H,N] W3[H,N] W4[H,N] W5[H,N] W6[H,N] W7[H,N] W8[H,N] U1[H,H] U2[H,H] U3[H,H] U4[H,H] U5[H,H]
    U6[H,H] U7[H,H] U8[H,H]
outputs: h
l1 = sigmoid(W1 @ x + U1 @ h_prev)
l2 = relu((W2 @ x) * (U2 @ h_prev))
l3 = sigmoid(W3 @ x + U3 @ h_prev)
l4 = relu((W4 @ x) * (U4 @ h_prev))
l5 = tanh(W5 @ x + U5 @ h_prev)
l6 = sigmoid(W6 @ x + U6 @ h_prev)
l7 = tanh(W7 @ x + U7 @ h_prev)
l8 = sigmoid(W8 @ x + U8 @ h_prev)
k1 = tanh(l1 * l2)
k2 = tanh(l3 + l4)
k3 = tanh(l5 * l6)
k4 = sigmoid(l7 + l8)
m = tanh(k1 + c_prev)
c = m * k2
m2 = tanh(k3 + k4)
h = tanh(c * m2)

name: antisym
title: Gated antisymmetric RNN, M for M - M'
year: 2019
reference: Chang et al., arXiv 1902.09689
states: h
parameters: M[H,H] W[H,N] b Wz[H,N] bz
constants: eps[1] gam[1]
initial: eps=0.1 gam=0.01
a = M @ h_prev - gam * h_prev
h = h_prev + eps * sigmoid(a + Wz @ x + bz) * tanh(a + W @ x + b)

name: cornn
title: coRNN, implicit damping
year: 2020
reference: Rusch, Mishra, arXiv 2010.00951
states: y z
parameters: W[H,H] Wz[H,H] V[H,N] b
constants: dt[1] gam[1] eps[1]
initial: dt=0.1 gam=1 eps=1
outputs: y
z = (z_prev + dt * (tanh(W @ y_prev + Wz @ z_prev + V @ x + b) - gam * y_prev)) / (1 + dt * eps)
y = y_prev + dt * z

name: unicornn
title: UnICORNN
year: 2021
reference: Rusch, Mishra, arXiv 2103.05487
states: y z
parameters: w V[H,N] b c
constants: dt[1] alpha[1]
initial: dt=0.1 alpha=1
outputs: y
d = dt * sigmoid(c)
z = z_prev - d * (tanh(w * y_prev + V @ x + b) + alpha * y_prev)
y = y_prev + d * z

name: ltc
title: Liquid time-constant network, fused step
year: 2020
reference: Hasani et al., arXiv 2006.04439
inputs: x t[S]
states: h
parameters: M[H,N] U[H,H] A tau
constants: ones[H,S]
initial: ones=1
dt = ones @ t
f = sigmoid(M @ x + U @ h_prev)
h = (h_prev + dt * f * A) / (1 + dt * (1 / softplus(tau) + f))

name: cfc
title: Closed-form continuous-time network
year: 2022
reference: Hasani et al., arXiv 2106.13898
inputs: x t[S]
states: h
parameters: W_b[B,N] U_b[B,H] b_b[B] F1[H,B] F2[H,B] TA[H,B] TB[H,B] c1 c2 ca cb
constants: ones[H,S]
initial: ones=1
bb = 17159 * tanh((W_b @ x + U_b @ h_prev + b_b) * 666 / 1000) / 10000
f1 = tanh(F1 @ bb + c1)
f2 = tanh(F2 @ bb + c2)
g = sigmoid((TA @ bb + ca) * (ones @ t) + TB @ bb + cb)
h = f1 * (1 - g) + g * f2

name: phased_gate
title: Phased LSTM
year: 2016
reference: Neil, Pfeiffer, Liu, arXiv 1610.09513
states: h c
inputs: x phi[H]
parameters: W_i[H,N] W_f[H,N] W_g[H,N] W_o[H,N] U_i[H,H] U_f[H,H] U_g[H,H] U_o[H,H] b_i b_f b_g b_o p_i p_f p_o r
constants: leak[1]
initial: leak=0.001 r=0.1
outputs: h
k = where(phi < r / 2, 2 * phi / r, where(phi < r, 2 - 2 * phi / r, leak * phi))
i = sigmoid(W_i @ x + U_i @ h_prev + p_i * c_prev + b_i)
f = sigmoid(W_f @ x + U_f @ h_prev + p_f * c_prev + b_f)
g = tanh(W_g @ x + U_g @ h_prev + b_g)
cc = f * c_prev + i * g
o = sigmoid(W_o @ x + U_o @ h_prev + p_o * cc + b_o)
c = k * cc + (1 - k) * c_prev
h = k * o * tanh(cc) + (1 - k) * h_prev

name: deep_transition
title: Deep transition RNN
year: 2013
reference: Pascanu et al., arXiv 1312.6026
states: h
parameters: W[D,N] U[D,H] b1[D] V[E,D] b2[E] O[H,E] b3
a = tanh(W @ x + U @ h_prev + b1)
b = relu(V @ a + b2)
h = tanh(O @ b + b3 + h_prev)

name: rhn4
title: Recurrent highway network, depth 4
year: 2016
reference: Zilly et al., arXiv 1607.03474
states: s
parameters: W_q[H,N] W_t[H,N] R1[H,H] T1[H,H] b1 d1 R2[H,H] T2[H,H] b2 d2 R3[H,H] T3[H,H] b3 d3 R4[H,H] T4[H,H] b4
    d4
q1 = tanh(W_q @ x + R1 @ s_prev + b1)
t1 = sigmoid(W_t @ x + T1 @ s_prev + d1)
s1 = q1 * t1 + s_prev * (1 - t1)
q2 = tanh(R2 @ s1 + b2)
t2 = sigmoid(T2 @ s1 + d2)
s2 = q2 * t2 + s1 * (1 - t2)
q3 = tanh(R3 @ s2 + b3)
t3 = sigmoid(T3 @ s2 + d3)
s3 = q3 * t3 + s2 * (1 - t3)
q4 = tanh(R4 @ s3 + b4)
t4 = sigmoid(T4 @ s3 + d4)
s = q4 * t4 + s3 * (1 - t4)

name: slstm
title: sLSTM
year: 2024
reference: Beck et al., arXiv 2405.04517
states: h c n m
parameters: W_i[H,N] W_f[H,N] W_z[H,N] W_o[H,N] R_i[H,H] R_f[H,H] R_z[H,H] R_o[H,H] b_i b_f b_z b_o
outputs: h
ii = W_i @ x + R_i @ h_prev + b_i
ff = W_f @ x + R_f @ h_prev + b_f
z = tanh(W_z @ x + R_z @ h_prev + b_z)
o = sigmoid(W_o @ x + R_o @ h_prev + b_o)
m = maximum(m_prev - softplus(-ff), ii)
i = exp(ii - stop(m))
f = exp(m_prev - softplus(-ff) - stop(m))
c = f * c_prev + i * z
n = f * n_prev + i
h = o * c / maximum(n, 1 / 1000000)

name: jordan
title: Jordan network
year: 1986
reference: Jordan, CogSci 1986
states: y[O] s[O]
parameters: W[H,N] U[H,O] b V[O,H] d[O]
constants: mu[1]
outputs: y
initial: mu=0.5
s = mu * s_prev + y_prev
h = tanh(W @ x + U @ s + b)
y = sigmoid(V @ h + d)

name: brc
title: Bistable recurrent cell
year: 2021
reference: Vecoven, Ernst, Drion, arXiv 2006.05252
states: h
parameters: W_a[H,N] w_a b_a W_c[H,N] w_c b_c W_h[H,N]
a = 1 + tanh(W_a @ x + w_a * h_prev + b_a)
c = sigmoid(W_c @ x + w_c * h_prev + b_c)
h = c * h_prev + (1 - c) * tanh(W_h @ x + a * h_prev)

name: nbrc
title: Recurrently neuromodulated bistable cell
year: 2021
reference: Vecoven, Ernst, Drion, arXiv 2006.05252
states: h
parameters: W_a[H,N] U_a[H,H] b_a W_c[H,N] U_c[H,H] b_c W_h[H,N]
a = 1 + tanh(W_a @ x + U_a @ h_prev + b_a)
c = sigmoid(W_c @ x + U_c @ h_prev + b_c)
h = c * h_prev + (1 - c) * tanh(W_h @ x + a * h_prev)

name: minimalrnn
title: MinimalRNN
year: 2017
reference: Chen, arXiv 1711.06788
states: h
parameters: W_x[H,N] b_x U_h[H,H] U_z[H,H] b_u
z = tanh(W_x @ x + b_x)
u = sigmoid(U_h @ h_prev + U_z @ z + b_u)
h = u * h_prev + (1 - u) * z

name: ran
title: Recurrent additive network
year: 2017
reference: Lee, Levy, Zettlemoyer, arXiv 1705.07393
states: h c
parameters: W_c[H,N] W_i[H,N] U_i[H,H] b_i W_f[H,N] U_f[H,H] b_f
outputs: h
n = W_c @ x
i = sigmoid(U_i @ h_prev + W_i @ x + b_i)
f = sigmoid(U_f @ h_prev + W_f @ x + b_f)
c = i * n + f * c_prev
h = tanh(c)

name: star
title: STAR
year: 2019
reference: Turkoglu et al., arXiv 1911.11033
states: h
parameters: W_z[H,N] b_z W_k[H,N] U_k[H,H] b_k
z = tanh(W_z @ x + b_z)
k = sigmoid(W_k @ x + U_k @ h_prev + b_k)
h = tanh((1 - k) * h_prev + k * z)

name: lipschitz
title: Lipschitz RNN, A and W for their symmetrised forms
year: 2020
reference: Erichson et al., arXiv 2006.12070
states: h
parameters: A[H,H] W[H,H] E[H,N] b
constants: eps[1] gam[1]
initial: eps=0.03 gam=0.01
ah = A @ h_prev
h = h_prev + eps * (ah - gam * h_prev) + eps * tanh(W @ h_prev - gam * h_prev + E @ x + b)

name: lmu
title: Legendre memory unit
year: 2019
reference: Voelker, Kajic, Eliasmith, NeurIPS 2019
states: h m[Q]
parameters: e_x[U,N] e_h[U,H] e_m[U,Q] W_x[H,N] W_h[H,H] W_m[H,Q]
constants: Abar[Q,Q] Bbar[Q,U]
outputs: h
u = e_x @ x + e_h @ h_prev + e_m @ m_prev
m = Abar @ m_prev + Bbar @ u
h = tanh(W_x @ x + W_h @ h_prev + W_m @ m)

name: nested
title: Nested LSTM
year: 2018
reference: Moniz, Krueger, arXiv 1801.10308
states: h c k
parameters: W_i[H,N] W_f[H,N] W_g[H,N] W_o[H,N] U_i[H,H] U_f[H,H] U_g[H,H] U_o[H,H] b_i b_f b_g b_o A_i[H,H]
    A_f[H,H] A_g[H,H] A_o[H,H] B_i[H,H] B_f[H,H] B_g[H,H] B_o[H,H] e_i e_f e_g e_o
outputs: h
i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
g = tanh(W_g @ x + U_g @ h_prev + b_g)
o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
xx = i * g
hh = f * c_prev
i2 = sigmoid(A_i @ xx + B_i @ hh + e_i)
f2 = sigmoid(A_f @ xx + B_f @ hh + e_f)
g2 = tanh(A_g @ xx + B_g @ hh + e_g)
o2 = sigmoid(A_o @ xx + B_o @ hh + e_o)
k = f2 * k_prev + i2 * g2
c = o2 * tanh(k)
h = o * tanh(c)

name: minlstm
title: minLSTM
year: 2024
reference: Feng et al., arXiv 2410.01201
states: h
parameters: W_f[H,N] W_i[H,N] W_n[H,N]
f = sigmoid(W_f @ x)
i = sigmoid(W_i @ x)
h = f / (f + i) * h_prev + i / (f + i) * (W_n @ x)

name: skip
title: Skip RNN, a gate for each unit
year: 2017
reference: Campos et al., arXiv 1708.06834
states: h cum p
parameters: W[H,N] U[H,H] b w_p b_p
outputs: h
cc = cum_prev + minimum(p_prev, 1 - cum_prev)
u = where(cc >= 1/2, 1 + cc - stop(cc), cc - stop(cc))
n = tanh(W @ x + U @ h_prev + b)
h = u * n + (1 - u) * h_prev
p = u * sigmoid(w_p * n + b_p) + (1 - u) * p_prev
cum = (1 - u) * cc
"""
