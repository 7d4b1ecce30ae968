"""The reasons and remarks of a comparison in Chinese.

Texts are made in English where something is found; here each of their templates has its
counterpart. ``{}`` stands for a name or number, or for another reason.
"""

from __future__ import annotations

import re
from functools import lru_cache

TEXTS: dict[str, str] = {
    # values that the text does not tell
    "a comparison": "一个比较",
    "a comparison of lists": "列表的比较",
    "a comparison of objects": "对象的比较",
    "a configuration from elsewhere": "来自别处的配置",
    "a device": "一个设备",
    "a dictionary entry that is not known": "未知的字典条目",
    "a dictionary whose entries are not known": "条目未知的字典",
    "a dtype": "一个数据类型",
    "a field without a value": "没有值的字段",
    "a format with fields of fields": "含嵌套字段的格式",
    "a formatted text": "格式化的文本",
    "a formatted text that is not known": "未知的格式化文本",
    "a function's attribute": "函数的属性",
    "a generator's result": "生成器的结果",
    "a list": "一个列表",
    "a list changed at an unknown place": "在未知位置被修改的列表",
    "a list changed by del": "被 del 修改的列表",
    "a list changed by {}": "被 {} 修改的列表",
    "a list of prompts": "提示词列表",
    "a long loop": "很长的循环",
    "a long product": "很大的笛卡儿积",
    "a long range": "很长的 range",
    "a loop over an object": "对一个对象的循环",
    "a loop that ends at a turn nobody knows": "不知在哪一轮结束的循环",
    "a map over something not known": "对未知内容的 map",
    "a member of {}": "{} 的成员",
    "a membership that is not known": "未知的成员关系",
    "a missing configuration": "缺少的配置",
    "a missing format field": "缺少的格式字段",
    "a module chosen at run time": "运行时才选定的模块",
    "a parameter that nothing in the file passes": "文件中无处传入的参数",
    "a pattern that is not followed": "未跟踪的匹配模式",
    "a pipeline's components": "流水线的组件",
    "a product of something not known": "未知内容的笛卡儿积",
    "a range of unknown length": "长度未知的 range",
    "a set of objects": "对象的集合",
    "a slice": "一个切片",
    "a sort of something not known": "对未知内容的排序",
    "a text": "一段文本",
    "a type": "一个类型",
    "a value nested too deeply": "嵌套过深的值",
    "a value of the model's scheduler configuration": "模型调度器配置中的值",
    "a very large number": "很大的数",
    "a very long list": "很长的列表",
    "a very long text": "很长的文本",
    "a very long text or list": "很长的文本或列表",
    "an attribute chosen at run time": "运行时才选定的属性",
    "an element": "一个元素",
    "an element of something not known": "未知内容的元素",
    "an entry whose key is not known": "键未知的条目",
    "an exception": "一个异常",
    "an expression that fails ({})": "出错的表达式（{}）",
    "an object of the program": "程序中的对象",
    "an operation in place": "就地运算",
    "an operation on an object": "对对象的运算",
    "an operation whose result is not known": "结果未知的运算",
    "an order that is not known": "未知的顺序",
    "code that is made at run time": "运行时生成的代码",
    "an unknown first number": "未知的起始编号",
    "an unknown key": "未知的键",
    "an unusual expression": "少见的表达式",
    "no model is named": "没有给出模型",
    "not a diffusers scheduler": "不是 diffusers 的调度器",
    "prompts given as embeddings": "以嵌入给出的提示词",
    "super() outside of a method": "方法之外的 super()",
    "the UNet comes from elsewhere": "UNet 来自别处",
    "the attribute deepcache": "属性 deepcache",
    "the attribute {}": "属性 {}",
    "the model of separately loaded parts": "分别加载的组件所属的模型",
    "the model's id": "模型的名称",
    "the model's own default scheduler": "模型自带的默认调度器",
    "the model's own image size": "模型自身的图像尺寸",
    "the model's own scheduler configuration": "模型自带的调度器配置",
    "the module's {}": "模块的 {}",
    "the pipeline class is the model's choice": "流水线的类由模型决定",
    "the pipeline's default {}": "流水线默认的 {}",
    "the pipeline's defaults": "流水线的默认值",
    "the pipeline's output": "流水线的输出",
    "the result of code made at run time": "运行时生成的代码的结果",
    "the result of the helper's {}": "辅助对象的 {} 的结果",
    "the result of the scheduler's {}": "调度器的 {} 的结果",
    "the result of {}": "{} 的结果",
    "the result of {} of {}": "对 {1} 调用 {0} 的结果",
    "the result of {}()": "{}() 的结果",
    "the result of {}.{}": "{}.{} 的结果",
    "the text of an object": "对象的文本",
    "the user's home": "用户主目录",
    "what a model returns": "模型返回的内容",
    "what a with block is given": "with 块得到的内容",
    "what is sent into a generator": "送入生成器的内容",
    "what setting {} does": "设置 {} 的作用",
    "what the base of {} does": "{} 的基类的作用",
    "what {} changes": "{} 改变了什么",
    "what {} comes to when it is called again": "再次调用 {} 的结果",
    "what {} does": "{} 的作用",
    "what {} makes of its base": "{} 对其基类的改动",
    "whether an object of {} counts as true": "{} 的对象是否为真",
    "whether the class's defaults are the model's configuration": "类的默认值是否就是模型的配置",
    "whether the pipeline has {}": "流水线是否有 {}",
    "whether {} builds a pipeline": "{} 是否构建流水线",
    "{} is deleted": "{} 被删除",
    "{} is set elsewhere": "{} 在别处设定",
    "{} is taken away": "{} 被去掉",
    "{} may come from {}": "{} 可能来自 {}",
    "{}, which is set elsewhere": "在别处设定的 {}",
    "{}, which is torch's": "由 torch 决定的 {}",
    "** of an object": "对象的 ** 展开",
    # how one unknown follows from another
    "depends on {}": "取决于{}",
    "given by {}": "由{}给出",
    "may be changed by {}": "可能被{}改变",
    # what a program certainly does
    "DeepCache is disabled without having been enabled": "DeepCache 未启用就被停用",
    "DeepCache is enabled twice: the call ends in a RecursionError": (
        "DeepCache 被启用两次：调用会以 RecursionError 告终"
    ),
    "DeepCache is enabled without set_params: the call fails": (
        "启用 DeepCache 前没有调用 set_params：调用会失败"
    ),
    "DeepCacheSDHelper was made without its pipe": "创建 DeepCacheSDHelper 时没有给出 pipe",
    "None has no attribute {}": "None 没有属性 {}",
    "a plain call follows a pipe.tgate() call: T-GATE never takes its patches off again, so stale "
    "attention is reused": (
        "pipe.tgate() 之后又普通调用：T-GATE 从不撤销补丁，因此会重用过时的注意力"
    ),
    "a sequence of another length is unpacked": "解包的序列长度不符",
    "something that is not a function is called": "调用了不是函数的东西",
    "the assertion at line {} fails": "第 {} 行的断言不成立",
    "the bases of {} have no order": "{} 的基类没有合法的顺序",
    "the file builds no pipeline": "文件没有构建流水线",
    "the file fails when it runs: {}": "文件运行时会出错：{}",
    "the file raises {} at line {}": "文件在第 {1} 行抛出 {0}",
    "the key {} is not in the dictionary": "字典中没有键 {}",
    "the name {} is not defined": "名称 {} 未定义",
    "the number of steps is given as inference_step, a name that tgate 1.0.0 ignores": (
        "步数以 inference_step 给出，而 tgate 1.0.0 会忽略这个名称"
    ),
    "the program leaves": "程序退出",
    "{} has no attribute {}": "{} 没有属性 {}",
    "{} has no {}": "{} 没有 {}",
    "{} takes no {}": "{} 不接受 {}",
    # what is not followed
    "a loop turns too often to be followed": "循环次数过多，无法跟踪",
    "the file changes {}.{} itself": "文件自行修改了 {}.{}",
    "the file does more than can be followed without running it": (
        "文件所做的超出了不运行就能跟踪的范围"
    ),
    "the file is nested too deeply to be followed": "文件嵌套过深，无法跟踪",
    "{} calls itself too often to be followed": "{} 递归过多，无法跟踪",
    "{} inherits from more classes than can be followed": "{} 继承的类过多，无法跟踪",
    # how two values differ
    "an equivalent noise scheduler at other timesteps": "等价的噪声调度器，但时间步不同",
    "another model": "另一个模型",
    "another noise scheduler": "另一个噪声调度器",
    "equivalent noise schedulers": "等价的噪声调度器",
    "missing": "缺少",
    "neither file builds a pipeline": "两个文件都没有构建流水线",
    "not asked for": "并未要求",
    "off by {}": "相差 {}",
    "the default, not counted": "默认值，不计分",
    "two ids of one model": "同一模型的两个名称",
    "within {}": "在 {} 以内",
    # a file that is none
    "cannot be opened: {}": "无法打开：{}",
    "cannot be read: {}": "无法读取：{}",
    "contains null bytes, so it is not Python source": "含有空字节，不是 Python 源码",
    "does not parse: it is nested too deeply": "无法解析：嵌套过深",
    "does not parse: {}": "无法解析：{}",
    "has more than {} tokens; no pipeline file has": "超过 {} 个词法单元；没有流水线文件会如此",
    "is larger than {} MiB; no pipeline file is": "大于 {} MiB；没有流水线文件会如此",
    "is not UTF-8 text": "不是 UTF-8 文本",
    "is not a regular file": "不是普通文件",
    "is not valid {} text (byte {})": "不是有效的 {} 文本（第 {} 字节）",
    "names an encoding that is not supported; save it as UTF-8": (
        "声明了不支持的编码；请存为 UTF-8"
    ),
}


@lru_cache(1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return the templates with a gap, those that say most first."""
    templates = sorted((text for text in TEXTS if "{}" in text), key=len, reverse=True)
    return [
        (re.compile("(.+)".join(map(re.escape, text.split("{}"))), re.DOTALL), TEXTS[text])
        for text in templates
    ]


def chinese(text: str) -> str:
    """Return a reason or remark in Chinese; what has no counterpart stays as it is."""
    if text in TEXTS:
        return TEXTS[text]
    parts = [part.partition(": ") for part in text.split("; ")]
    if all(key.isidentifier() for key, _, _ in parts):  # of each entry of a dictionary
        return "；".join(f"{key}：{chinese(why)}" if why else key for key, _, why in parts)
    for pattern, translation in _patterns():
        found = pattern.fullmatch(text)
        if found:
            return translation.format(*map(chinese, found.groups()))
    return text
