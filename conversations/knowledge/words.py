"""Words that say nothing about what a text is about, in the forms that the segmenter gives. Pure data."""

ENGLISH_STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any anybody anyone anything are around as at away be because been
    before being below between both but by ca can cannot could did do does doing done during each either else ever
    every everyone everything explain few for from further get gets getting give gives go goes going got had happen
    happened happening happens has have having he help her here hers him his hi how however i if in into is it its
    itself just know let like lot lots make makes many may maybe me mean means might mine more most much must my
    myself need needs neither never no nor not now of off on once one only or other our ours ourselves out over own
    please possible really same say says see shall she should show since so some somebody someone something still
    such take takes tell than thank thanks that the their theirs them themselves then there these they thing things
    this those through to too under until up upon us use used using very want wants was way we well were what when
    where whether which while who whom whose why will with within without wo work working works would yes yet you
    your yours yourself
    """.split()  # noqa: SIM905  a list of literals would fill pages
)

CHINESE_STOP_WORDS = frozenset(
    """
    的 地 得 了 着 过 是 在 有 和 与 及 或 或者 以及 并 并且 而 而且 但 但是 不过 就 都 也 还 又 再 才 只 很 更 最
    太 非常 比较 被 把 将 让 使 给 对 对于 关于 从 到 由 向 往 用 以 为 为了 因为 因 所以 由于 如果 假如 要是 那么
    则 即 这 那 这个 那个 这些 那些 现在 目前 一次 这里 那里 这样 那样 它 它们 他 她 他们 她们 我 我们 你 你们 您
    咱们 自己 大家 人 谁 什么 啥 怎么 怎样 怎么样 怎么办 如何 为什么 为何 为啥 哪 哪个 哪些 哪里 哪儿 哪种 哪几种
    哪几个 哪项 几种 几 几个 多少 多久 多大 多长 是否 是不是 能不能 可不可以 会不会 有没有 要不要 吗 呢 吧 啊 呀 哦
    嘛 么 的话 请 请问 问 想 想要 要 可以 可 能 能够 能否 会 应 应该 应当 需要 必须 得到 可能 一 一个 一下 一些 一种
    一样 两 个 种 些 次 点 下 上 里 中 内 外 前 后 时 时候 之 之后 之前 以后 以前 其 其中 其他 其它 每 每个 各 各个
    所 所有 全部 没 没有 不 不是 不会 不能 别 无 已 已经 正在 曾 告诉 知道 介绍 解释 说明 说 讲 讲讲 说说 看 看看 帮
    帮忙 帮我 帮助 谢谢 你好 您好 做 做到 进行 来 去 起来 出来 后能 怎么会 什么样 东西 事情 情况 意思 有关 相关 里面
    上面 下面 到底 究竟 还是 还有 就是 只能 只有 跟 同 啦 嗯 好 行
    """.split()  # noqa: SIM905  a list of literals would fill pages
)

# Past forms that no ending tells, with the word as it is looked up.
ENGLISH_IRREGULAR = dict(
    pair.split("=")
    for pair in """
    began=begin begun=begin bought=buy broke=break broken=break brought=bring built=build caught=catch chose=choose
    chosen=choose drew=draw drawn=draw fell=fall fallen=fall forgot=forget forgotten=forget found=find grew=grow
    grown=grow held=hold hidden=hide kept=keep left=leave lost=lose loss=lose meant=mean met=meet paid=pay ran=run
    sent=send sold=sell spent=spend spoke=speak spoken=speak stuck=stick taught=teach thought=think threw=throw
    thrown=throw understood=understand wrote=write written=write
    """.split()  # noqa: SIM905  a list of literals would fill pages
)
